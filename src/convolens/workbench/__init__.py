"""One function per verb: puts data, model, task and recipe together."""
