"""What JAX wrote down while modules ran: the equations of a trace, whose they are, and what they cost.

Read in this order: `marks` (how a module call is found again in its equations), `work` and `rules` (what one equation
costs), `formula` (counts with symbolic dimensions), `subjaxprs` (what an equation runs), `program` and `reading` (all
equations, read once into plain data), `cost` and `accounts` (module by module), `reach` (what never reaches the
output), `leaves` and `values` (where the variables of a run came from).
"""
