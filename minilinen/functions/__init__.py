"""Functions of arrays that layers are made of. They know nothing of scopes and modules."""
