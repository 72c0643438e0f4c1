"""`python -m cog_cli` is `cog`."""

from cog_cli.main import main

if __name__ == "__main__":
    main()
