"""From YAML files and words of a command line to the tree of a configuration, and from its model to a table of keys.

May import no other room.
"""
