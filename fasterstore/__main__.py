"""`python -m fasterstore VERB`: hands over to the command line, the one import that points upward."""

from tools.cli import main

main()
