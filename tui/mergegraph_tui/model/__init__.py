"""What the screens show, as values: no widget, no Textual.

runs.py      runs as child processes that outlive the interface
progress.py  pace, time left and shares from what a run publishes
planned.py   what the plan dialog says before a run
steps.py     what a tile goes through, for that dialog
"""
