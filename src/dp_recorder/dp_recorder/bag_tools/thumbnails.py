"""A contact sheet and a small film of an episode: all cameras, read once, never more than one picture of each kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dp_dataset.bag_reader import BagError, BagReader, RawMessage

from dp_recorder.bag_tools.contact_sheet import ContactSheet, write_picture
from dp_recorder.bag_tools.film import Film
from dp_recorder.bag_tools.image_health import IMAGE_TYPES
from dp_recorder.bag_tools.picture_layout import ThumbSettings
from dp_recorder.serialized_message import SerializedMessageError, read_stamp_ns

#: A stamp farther than this from the receipt, ns, is of a clock that tells nothing here.
_FOREIGN_CLOCK_NS = 5_000_000_000
OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Thumbnails:
    """What was made: the sheet, the film (None for none), cameras on them, and what could not be decoded."""

    sheet: Path
    film: Path | None
    cameras: tuple[str, ...]
    problems: tuple[str, ...]


def make_thumbnails(
    folder: Path, stem: Path, settings: ThumbSettings | None = None, on_progress: OnProgress | None = None
) -> Thumbnails:
    """Make contact sheet and film of a bag.

    Args:
        folder: The bag's folder.
        stem: Path of both files without ending; ``.png`` and ``.mp4`` are added.
        settings: How they look.
        on_progress: Told how many bytes of the file were read.

    Raises:
        BagError: If the bag holds no pictures, or a film is wanted and imageio-ffmpeg is missing.
    """
    settings = settings or ThumbSettings()
    bag = BagReader(folder)
    cameras = _cameras(bag)
    sheet_path, film_path = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.mp4")
    stem.parent.mkdir(parents=True, exist_ok=True)
    span = (bag.start_ns, bag.end_ns)
    sheet = ContactSheet(cameras, span, settings)
    film = Film(cameras, span, settings, film_path) if settings.film else None
    problems: dict[str, None] = {}
    try:
        for entry in bag.read_raw(cameras, on_damage=lambda damage: None, on_progress=on_progress):
            try:
                t_ns = stamp_of(entry)
                sheet.add(t_ns, entry)
                if film is not None:
                    film.add(t_ns, entry)
            except ValueError as error:
                problems[str(error)] = None
        if film is not None:
            film.finish()
    finally:
        if film is not None:
            film.close()
    write_picture(sheet_path, sheet.picture())
    return Thumbnails(sheet_path, film_path if film else None, tuple(cameras), tuple(problems))


def _cameras(bag: BagReader) -> list[str]:
    details = bag.topic_details.values()
    cameras = sorted(topic.name for topic in details if topic.type_name in IMAGE_TYPES and topic.message_count)
    if not cameras:
        raise BagError(f"{bag.folder} holds no pictures; it has {', '.join(sorted(bag.topics)) or 'no topics'}")
    return cameras


def stamp_of(entry: RawMessage) -> int:
    """When a picture was taken, ns: by its stamp if its clock is that of the recorder, else when it came."""
    try:
        stamp_ns = read_stamp_ns(entry.data)  # type: ignore[arg-type]  # a view reads as bytes do
    except SerializedMessageError:
        return entry.log_time_ns
    return stamp_ns if abs(stamp_ns - entry.log_time_ns) < _FOREIGN_CLOCK_NS else entry.log_time_ns
