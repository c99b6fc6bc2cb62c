"""What the interface knows, apart from how it is drawn. Nothing here imports Textual.

document.py    the recipe's text as the truth, with undo; files.py and autosave.py keep it, checking.py checks it
outline.py     where things stand in the text; splice.py, nodes.py, wires.py, adding.py edit it byte for byte
typed_lines.py what was typed into lines, put into the text; colouring.py the colours of a line
fields.py      the form of a node, from its method; choices.py and schedules.py fill it
graph.py       what is drawn: nodes, their inputs, their state; reading.py makes it from the engine's Recipe or Graph
sketch.py      the same of a text that is not valid yet
wiring.py      which wires may be drawn, and in which order nodes come
layers.py      nodes to layers, long wires to passages; order.py sorts a layer, across.py places it
tracks.py      where the wires between two layers bend
layered.py     all of it: a Drawing (drawing.py) in whole cells; fit.py picks the size that fits
glyphs.py      the characters; cells.py paints a Drawing with them
rail.py        one node a row
text.py        a drawing as lines of text
runs.py        runs as child processes that outlive the interface
progress.py    pace, time left and shares from what a run publishes
planned.py     what the plan dialog says before a run
steps.py       what a tile goes through, for that dialog
"""
