"""The toy collections: what their rooms have in common, from one camera to endless variety."""

from vlm3.sources.rooms.furnish import Collection
from vlm3.sources.rooms.stands import Eyes, Lens

FIXED = Lens(128, 96, (65.2, 65.2))  # fx = fy = 100 px
SEVERAL = (
    Lens(128, 96, (50, 60)),
    Lens(128, 96, (60, 75)),
    Lens(160, 96, (60, 80), (0.95, 1.05), 0.03),
    Lens(96, 128, (45, 60), (0.95, 1.05), 0.03),
    Lens(192, 128, (55, 75), (0.9, 1.1), 0.05),
)
# All shapes of images, with more stretch and shift than real cameras have.
ANY = tuple(
    Lens(w, h, (40, 85), (0.8, 1.25), 0.1) for w in (96, 128, 160, 192) for h in (64, 96, 128)
)
# Of phones and photo cameras, held upright and across: neither stretched nor shifted.
ORDINARY = (
    FIXED,
    Lens(128, 96, (55, 70)),
    Lens(160, 96, (60, 80)),
    Lens(96, 128, (45, 60)),
)
HOUSEHOLD = (
    *("crate", "ball", "chest", "table", "cabinet", "shelf", "picture", "door"),
    *("sofa", "bed", "wardrobe", "fridge", "stool", "bin"),
)
# Of the collections before `homes`, whose rooms stay what they were.
ASSORTED = (
    *("crate", "ball", "can", "drum", "pillar", "chest", "table", "cabinet", "shelf", "picture"),
    "door",
)
COLLECTIONS = {
    "small": Collection(
        number=1,
        scenes=300,
        lenses=(FIXED,),
        kinds=("crate", "ball", "drum", "chest", "cabinet", "door"),
        solids=(4, 7),
        side_m=(3.5, 5.0),
        height_m=(2.4, 2.7),
        floors=("tiles",),
        walls=("plain", "panels"),
        lamps=(1, 1),
        eyes=Eyes(),
    ),
    "medium": Collection(
        number=2,
        scenes=3_000,
        lenses=(FIXED, Lens(144, 96, (52, 52))),
        kinds=ASSORTED,
        solids=(5, 9),
        side_m=(3.0, 6.0),
        height_m=(2.3, 3.0),
        floors=("tiles", "planks"),
        walls=("plain", "panels", "patches"),
        lamps=(1, 2),
        eyes=Eyes(tilt_deg=10.0),
    ),
    "large": Collection(
        number=3,
        scenes=100_000,
        lenses=SEVERAL,
        kinds=ASSORTED,
        solids=(5, 11),
        side_m=(3.0, 7.0),
        height_m=(2.2, 3.4),
        floors=("tiles", "planks", "carpet"),
        walls=("plain", "panels", "bands", "patches"),
        lamps=(1, 2),
        eyes=Eyes(tilt_deg=12.0),
    ),
    "endless": Collection(
        number=4,
        scenes=2**31,
        lenses=ANY,
        kinds=ASSORTED,
        solids=(4, 12),
        side_m=(2.6, 8.0),
        height_m=(2.1, 4.0),
        floors=("tiles", "planks", "carpet", "plain"),
        walls=("plain", "panels", "bands", "patches"),
        lamps=(1, 2),
        eyes=Eyes(tilt_deg=15.0),
    ),
    # As people photograph rooms: heights of eyes, ordinary lenses, furniture of ordinary sizes.
    "homes": Collection(
        number=5,
        scenes=2**31,
        lenses=ORDINARY,
        kinds=HOUSEHOLD,
        solids=(5, 9),
        side_m=(3.0, 6.0),
        height_m=(2.4, 2.7),
        floors=("tiles", "planks"),
        walls=("plain", "panels", "patches"),
        lamps=(1, 2),
        eyes=Eyes((1.35, 1.7), (1.2, 1.9), one_camera=True),
    ),
}
