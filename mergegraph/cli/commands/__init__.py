"""The commands, by subject: their options and help. Each does its work in a module that it imports when it runs."""
