"""Complete training configurations, as functions."""
