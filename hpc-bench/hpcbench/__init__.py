"""Load from many nodes, a probe that follows every upload, and a report that anyone can make again."""
