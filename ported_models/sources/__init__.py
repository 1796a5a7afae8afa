"""Where networks come from: Keras models and files, torch modules. Importing this imports no framework."""
