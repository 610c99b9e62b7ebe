"""Other tools' programs on a store: one package a tool, each alone and each optional."""
