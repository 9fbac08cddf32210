"""Processes of k2t's own: what runs in them, what they may do, and the data that comes back.

`child.Child` is the parent's side, `worker` the other one, `messages` what goes between them: data and never code.
`limits` is what such a process may use. Nothing here knows of Keras or torch.
"""
