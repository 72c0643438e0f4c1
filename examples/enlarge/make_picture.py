"""Make picture.jpg: 160 x 120, a sun over hills, drawn with arithmetic."""

import math

from PIL import Image

WIDTH, HEIGHT = 160, 120


def main() -> None:
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.putdata([colour(x, y) for y in range(HEIGHT) for x in range(WIDTH)])
    picture.save("picture.jpg", quality=90)


def colour(x: int, y: int) -> tuple[int, int, int]:
    if math.hypot(x - 112, y - 36) < 16:
        return 255, 221, 102
    if y > 88 + 12 * math.sin(x / 18):
        return 34, 102 + x // 4, 51
    if y > 72 + 9 * math.sin(x / 29 + 2):
        return 68, 119, 85
    return 119 + y // 2, 170 + y // 3, 238


if __name__ == "__main__":
    main()
