"""The local web app: Design, Runs and Look, a thin skin on the workbench."""
