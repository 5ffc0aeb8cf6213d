"""One module per subject, each with an ``ActionRouter`` that ``lambda_function.py`` includes."""
