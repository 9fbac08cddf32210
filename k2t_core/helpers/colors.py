"""Images as TensorFlow adjusts them: the last axis holds red, green and blue, from 0 to 1."""

import torch


def rgb_to_hsv(x):
    """Hue, saturation and value, from 0 to 1."""
    red, green, blue = x.unbind(-1)
    value, least = x.amax(-1), x.amin(-1)
    spread = value - least
    unit = 1 / (6 * torch.where(spread > 0, spread, 1))
    hue = torch.where(
        red == value,
        unit * (green - blue),
        torch.where(green == value, unit * (blue - red) + 2 / 6, unit * (red - green) + 4 / 6),
    )
    hue = torch.where(spread > 0, hue, 0)
    saturation = torch.where(value > 0, spread / torch.where(value > 0, value, 1), 0)
    return torch.stack([torch.where(hue < 0, hue + 1, hue), saturation, value], -1)


def hsv_to_rgb(x):
    """What `rgb_to_hsv` does, backwards."""
    hue, saturation, value = x.unbind(-1)
    red = ((hue * 6 - 3).abs() - 1).clamp(0, 1)
    green = (2 - (hue * 6 - 2).abs()).clamp(0, 1)
    blue = (2 - (hue * 6 - 4).abs()).clamp(0, 1)
    return torch.stack([(1 - saturation + saturation * color) * value for color in (red, green, blue)], -1)


def adjust_hue(x, delta):
    """The hue turned by ``delta`` of a whole turn."""
    hue, saturation, value = rgb_to_hsv(x).unbind(-1)
    return hsv_to_rgb(torch.stack([(hue + delta) % 1, saturation, value], -1))


def adjust_saturation(x, factor):
    """The saturation times ``factor``, at most 1."""
    hue, saturation, value = rgb_to_hsv(x).unbind(-1)
    return hsv_to_rgb(torch.stack([hue, (saturation * factor).clamp(0, 1), value], -1))


def adjust_contrast(x, factor):
    """The distance of each channel from its mean over height and width times ``factor``."""
    mean = x.mean((-3, -2), keepdim=True)
    return (x - mean) * factor + mean
