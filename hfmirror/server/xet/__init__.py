"""How does a large file arrive that a stock client sends by Xet? As xorbs and a shard, from which an LFS object is made.

The client cuts files into chunks, packs chunks that are new to it into xorbs, and at the end sends a shard: which file is
made of which chunks of which xorbs. The server offers the upload side alone; downloads are plain HTTP.

* ``xorb``, ``shard``: the two formats, checked byte by byte
* ``storage``: where the xorbs of a repository lie, and when they go away
* ``rebuild``: files made again from their chunks
* ``grant``: the access token that the client gets for one repository
* ``api``: the HTTP side
"""
