"""``python -m hfmirror`` is the command ``hfmirror``."""

from hfmirror.main import main

if __name__ == '__main__':
    main()
