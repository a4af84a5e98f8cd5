"""``python -m bounceparse``."""

from bounceparse.cli import main

if __name__ == "__main__":
    main(prog_name="bounceparse")
