"""The paper's numbers, as printed: Tables 1, 2 and S1 to S6.

Where a published sum does not equal its parts it is kept as published (the totals of the MaNS and
MiNS rows of Table 1 are 0.01 off). None comes with an interval.
"""

from __future__ import annotations

SCALE = "paper, Wan2.1-1.3B"  # stands beside every number of this file that a table shows

VIDEOPHY = ("SA", "PC", "AVG")  # per cent, soft scores
WORLDMODELBENCH = ("Instr", "Frame", "Temp", "Mass", "Penetr", "Total")
ALIGNMENT = ("cosine", "deviation")
COST = ("memory_gb", "seconds_per_iteration")

_TABLES: dict[str, tuple[tuple[str, ...], dict[str, tuple[float, ...]]]] = {
    "1": (
        VIDEOPHY + WORLDMODELBENCH,
        {
            "Zero-shot": (50.45, 32.69, 41.57, 2.18, 0.93, 0.80, 0.72, 0.83, 5.46),
            "+ SFT": (50.38, 34.28, 42.33, 2.14, 0.92, 0.81, 0.75, 0.85, 5.47),
            "+ Random negatives (ΔFM)": (47.71, 35.89, 41.80, 2.12, 0.91, 0.80, 0.73, 0.84, 5.40),
            "+ MaNS": (50.42, 36.03, 43.23, 2.15, 0.93, 0.82, 0.77, 0.88, 5.54),
            "+ MiNS": (50.10, 36.17, 43.14, 2.14, 0.93, 0.83, 0.74, 0.85, 5.50),
            "+ MaNS + MiNS": (50.78, 37.46, 44.12, 2.15, 0.93, 0.85, 0.78, 0.89, 5.60),
            "+ SFT + MaNS + MiNS (DiReCT)": (
                51.26,
                38.16,
                44.71,
                2.17,
                0.94,
                0.88,
                0.79,
                0.90,
                5.68,
            ),
        },
    ),
    "2": (
        VIDEOPHY + WORLDMODELBENCH,
        {
            "CogVideoX-2B": (48.73, 34.75, 41.74, 1.97, 0.88, 0.75, 0.67, 0.82, 5.09),
            "LTX": (21.10, 25.09, 23.10, 1.57, 0.74, 0.81, 0.79, 0.91, 4.82),
            "Allegro": (51.27, 27.24, 39.25, 1.91, 0.87, 0.79, 0.76, 0.89, 5.22),
            "CogVideoX-5B": (47.30, 42.79, 45.05, 2.01, 0.91, 0.80, 0.75, 0.86, 5.33),
            "Mochi": (53.10, 36.53, 44.81, 1.95, 0.74, 0.70, 0.65, 0.87, 4.91),
            "Wan 2.1-T2V (base)": (50.45, 32.69, 41.57, 2.18, 0.93, 0.80, 0.72, 0.83, 5.46),
            "DiReCT (ours)": (51.26, 38.16, 44.71, 2.17, 0.94, 0.88, 0.79, 0.90, 5.68),
        },
    ),
    "S1": (
        VIDEOPHY,
        {"0.1": (48.57, 33.50, 41.04), "0.2": (50.38, 34.28, 42.33), "0.3": (50.40, 31.69, 41.05)},
    ),
    "S2": (
        VIDEOPHY,
        {
            "0.001": (50.52, 35.48, 43.00),
            "0.005": (50.65, 36.47, 43.56),
            "0.02": (49.83, 36.82, 43.33),
        },
    ),
    "S3": (
        VIDEOPHY,
        {
            "0.005": (50.61, 35.97, 43.29),
            "0.02": (50.78, 37.46, 44.12),
            "0.1": (49.18, 37.03, 43.11),
        },
    ),
    "S4": (COST, {"SFT": (23.29, 4.94), "DiReCT": (30.45, 4.95)}),
    "S5": (
        VIDEOPHY,
        {
            "8": (49.87, 34.52, 42.20),
            "16": (50.61, 36.38, 43.50),
            "32": (51.26, 38.16, 44.71),
            "64": (50.94, 36.89, 43.92),
            "128": (50.18, 35.71, 42.95),
        },
    ),
    "S6": (
        ALIGNMENT,
        {"ΔFM (random neg.)": (0.12, 0.21), "DiReCT-MaNS (ours)": (-0.05, 0.12)},
    ),
}

TABLES: dict[str, dict[str, dict[str, float]]] = {  # table -> row -> metric -> value
    name: {row: dict(zip(columns, values, strict=True)) for row, values in rows.items()}
    for name, (columns, rows) in _TABLES.items()
}

PARAMETERS = {  # Table 2's second column
    "CogVideoX-2B": "2B",
    "LTX": "2B",
    "Allegro": "2.8B",
    "CogVideoX-5B": "5B",
    "Mochi": "10B",
    "Wan 2.1-T2V (base)": "1.3B",
    "DiReCT (ours)": "1.3B",
}
