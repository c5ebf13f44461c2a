"""The command line: one verb, one module, one function. Answers go to stdout, problems to stderr."""
