"""`python -m phiscale` is `phiscale`."""

from phiscale.cli import main

if __name__ == "__main__":
    main()
