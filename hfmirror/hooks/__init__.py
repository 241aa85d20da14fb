"""Git hooks in the repository of the training code: a commit, a tag or a push of it releases what was trained.

* ``code``: which repository, and what is going on in it
* ``settings``: what a hook of this repository releases, and where to
* ``scripts``: the script that git runs
* ``installing``: where hooks lie, and how they come and go without a loss for those of others
* ``events``: what has happened, and which commit of the code it is about
* ``sealing``: whether the folder was released already as it is
* ``job``: what there is to release, or what is there instead
* ``running``: what a hook does
* ``handing``: how a folder is handed over, and how long git waits
"""
