#ifndef RESIZE_H
#define RESIZE_H

#include <stdint.h>

/* Resize 8-bit grey pixels, row by row, to size x size as Pillow's resize((size, size), BILINEAR) does, bit for bit.
 * `resized` takes size * size pixels. Returns 0, or -1 where there is no memory. */
int resize_bilinear(const uint8_t *pixels, int width, int height, int size, uint8_t *resized);

#endif
