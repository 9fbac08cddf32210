"""TensorFlow's hashes of whole numbers, which hash their decimal text.

Sources: farmhash (na::Hash64), highwayhash (SipHash-2-4).
"""

import torch


def decimal_text(x):
    """int64 → (its decimal text as bytes along a new last axis of 24, padded with zeros; the text's length)."""
    negative = x < 0
    powers = 10 ** torch.arange(19, device=x.device)
    # The smallest int64 has no absolute value: digits are taken of −|x|, where every number has a place.
    digits = -torch.fmod(torch.div(torch.where(negative, x, -x).unsqueeze(-1), powers, rounding_mode="trunc"), 10)
    count = torch.where(digits != 0, torch.arange(1, 20, device=x.device), 1).amax(-1)
    place = torch.arange(24, device=x.device) - negative.unsqueeze(-1).long()
    text = digits.gather(-1, (count.unsqueeze(-1) - 1 - place).clamp(0, 18)) + 48
    text = torch.where((place >= 0) & (place < count.unsqueeze(-1)), text, 0)
    return torch.where(place < 0, 45, text), count + negative


def little_endian(text, start, size=8):
    """``size`` bytes from ``start`` on as one number."""
    places = start.unsqueeze(-1).clamp(0) + torch.arange(size, device=text.device)
    return (text.gather(-1, places.clamp(max=23)) << (8 * torch.arange(size, device=text.device))).sum(-1)


def shift_right(x, bits):
    """Of the 64 bits as they are, without the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def rotate(x, right):
    """The 64 bits turned to the right."""
    return shift_right(x, right) | (x << (64 - right))


def modulo(x, bins):
    """The remainder of the 64 bits read without a sign."""
    return torch.remainder(torch.remainder(x, bins) + torch.where(x < 0, 2**64 % bins, 0), bins)


def farm_hash_bucket(x, bins):
    """tf.strings.to_hash_bucket_fast of the decimal text."""
    k0, k1, k2 = 0xC3A5C85C97CB3127 - 2**64, 0xB492B66FBE98F273 - 2**64, 0x9AE16A3B2F90404F - 2**64
    text, length = decimal_text(x.long())
    zero = torch.zeros_like(length)
    factor = k2 + length * 2

    def mixed(u, v):
        a = (u ^ v) * factor
        b = (v ^ a ^ shift_right(a, 47)) * factor
        return (b ^ shift_right(b, 47)) * factor

    first, last = little_endian(text, zero), little_endian(text, length - 8)
    a, b = first + k2, last
    medium = mixed(rotate(b, 37) * factor + a, (rotate(a, 25) + b) * factor)
    short = mixed(length + (little_endian(text, zero, 4) << 3), little_endian(text, length - 4, 4))
    middle = text.gather(-1, (length // 2).unsqueeze(-1)).squeeze(-1)
    final = text.gather(-1, (length - 1).unsqueeze(-1)).squeeze(-1)
    tiny = (text[..., 0] + (middle << 8)) * k2 ^ (length + (final << 2)) * k0
    tiny = (tiny ^ shift_right(tiny, 47)) * k2
    a, b, c, d = first * k1, little_endian(text, zero + 8), last * factor, little_endian(text, length - 16) * k2
    long = mixed(rotate(a + b, 43) + rotate(c, 30) + d, a + rotate(b + k2, 18) + c)
    hashed = torch.where(length > 16, long, torch.where(length >= 8, medium, torch.where(length >= 4, short, tiny)))
    return modulo(hashed, bins)


def sip_hash_bucket(x, bins, key):
    """tf.strings.to_hash_bucket_strong of the decimal text."""
    text, length = decimal_text(x.long())
    k0, k1 = (k - 2**64 if k >= 2**63 else k for k in key)
    v = [
        torch.full_like(length, c ^ k)
        for c, k in zip(
            (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573), (k0, k1, k0, k1)
        )
    ]

    def rounds(v, count):
        a, b, c, d = v
        for _ in range(count):
            a, c = a + b, c + d
            b, d = rotate(b, 51) ^ a, rotate(d, 48) ^ c
            a, c = rotate(a, 32) + d, c + b
            b, d = rotate(b, 47) ^ c, rotate(d, 43) ^ a
            c = rotate(c, 32)
        return [a, b, c, d]

    def block(v, word):
        a, b, c, d = rounds([v[0], v[1], v[2], v[3] ^ word], 2)
        return [a ^ word, b, c, d]

    for start in (0, 8):  # whole blocks of eight, where the text is that long
        after = block(v, little_endian(text, torch.full_like(length, start)))
        v = [torch.where(length >= start + 8, new, old) for new, old in zip(after, v)]
    rest = little_endian(text, length // 8 * 8)
    v = block(v, rest | (length << 56))
    a, b, c, d = rounds([v[0], v[1], v[2] ^ 0xFF, v[3]], 4)
    return modulo(a ^ b ^ c ^ d, bins)
