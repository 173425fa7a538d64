"""Names of the files in the folder of a run: UPGRADING.md lists what they hold."""

# Of every training, in the order in which they appear.
RECIPE = "recipe.json"
SPEC = "spec.json"
DATA = "data.json"
TRANSFER = "transfer.json"
LENGTH = "length.json"  # only where a time limit changed the planned length
LOG = "log.jsonl"
CHECKPOINTS = "checkpoints"  # a folder
WEIGHTS = "best.safetensors"

# Of `fit`, before and after its training.
REQUEST = "request.json"  # makes a folder one of `fit`
LAW = "law.json"
COEFFICIENTS = "found.json"  # of a search, too
AUDIT = "audit.json"
DEVICE = "device.json"
CHOICE = "choice.json"
EVALUATION = "evaluation.json"
PREDICTIONS = "test-predictions.csv"
ONNX = "model.onnx"
MODEL = "model.json"
REPORT = "report.html"
