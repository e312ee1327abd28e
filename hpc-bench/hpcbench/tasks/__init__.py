"""What runs on compute nodes: nothing but the standard library, and k6.

``python -m hpcbench.tasks RUN INDEX``, with the folder above ``hpcbench`` on PYTHONPATH.
"""
