"""Mistakes in commands that search and study: one line each, with what to do."""

from support.command_line import mistake_test

SEARCH = "search coefficients small images --out new"
STUDY = "study images --out new"

MISTAKES = (
    # command line, exit code, what the one line says
    ("search coefficients small", 2, r"search coefficients needs --out"),
    ("search coefficients small --out new", 2, r"search coefficients needs DATA"),
    ("search coefficients nope images --out new", 2, r"'nope' is not a model"),
    ("search coefficients small none --out new", 1, r"'none' does not exist"),
    (
        f"{SEARCH} --method annealing",
        2,
        r"invalid value for --method: annealing\. Use one",
    ),
    (f"{SEARCH} --cost money", 2, r"--cost money is unknown\. Use one of macs, params"),
    (f"{SEARCH} --cost latency-ms", 2, r"needs a device model\. Make one with phiscale cal"),
    (f"{SEARCH} --compute 1", 2, r"--compute 1 scales nothing\. Use 2, or 0\.5 to shrink"),
    (f"{SEARCH} --units 1", 2, r"--units 1 is too little compute for a law\. Use 4 or more"),
    (f"{SEARCH} --seeds 1", 2, r"--seeds 1 has no spread\. Use 3 or more"),
    (f"{SEARCH} --epochs nan", 2, r"--epochs nan trains nothing"),
    ("study images --out new --preset family --phi 50 --plan", 2, r"--phi 50 .* -10 to 10"),
    (f"{SEARCH} --rates 0", 2, r"--rates 0 trains nothing"),
    (f"{SEARCH} --storage mysql://x/y", 2, r"only PostgreSQL and SQLite keep workers apart"),
    (f"{SEARCH} --storage nonsense", 2, r"--storage nonsense is no database"),
    (f"{SEARCH} --workers 0", 2, r"--workers 0 is out of range"),
    (f"{SEARCH} --out text.txt", 2, r"--out is given twice"),
    (
        "search coefficients small images --out text.txt",
        2,
        r"text\.txt is a file\. (Use|Give) a folder",
    ),
    (
        "search coefficients small images --out model",
        2,
        r"holds other files\. (Use|Give) a new",
    ),
    (f"{STUDY} --preset huge", 2, r"invalid value for --preset: huge\. Use one of 'smoke'"),
    (f"{STUDY} --seeds 0", 2, r"--seeds 0 has no spread"),
    (f"{STUDY} --epochs 0", 2, r"--epochs 0 trains nothing"),
    (f"{STUDY} --phi 1", 2, r"--phi and --coefficients are for --preset family"),
    (f"{STUDY} --preset family --phi inf", 2, r"--phi inf is out of range"),
    (f"{STUDY} --networks 9", 2, r"--networks is for --design-space"),
    (f"{STUDY} --design-space free", 2, r"compares two\. Use e\.g\. --design-space free compound"),
    (f"{STUDY} --design-space free tidy", 2, r"tidy is unknown\. Use two of free, compound"),
    (f"{STUDY} --resolution 16", 2, r"arm resolution needs 32 px, the images have 16"),
    (f"{STUDY} --seed=-1", 2, r"--seed -1 is out of range"),
    (f"{STUDY} --study-name=", 2, r"--study-name is empty"),
)


test_a_mistake_ends_with_one_line_that_names_it_and_says_what_to_do = mistake_test(MISTAKES)
