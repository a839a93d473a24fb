"""The command line: one file a verb. Nothing here imports TVM before a verb that needs it runs."""
