/* Pillow's antialiased bilinear resize of 8-bit grey pixels: an artifact was trained on these pixels.
 *
 * A triangle filter, widened by the scale when it shrinks, with weights in fixed point, along one axis and then along
 * the other, rounded to 8 bits in between. */

#include "resize.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* 8 bits of a pixel and 2 of headroom leave 22 of 32 for the fraction of a weight. */
#define FRACTION_BITS (32 - 8 - 2)

/* Where pixels lie: `step` leads to the next along an axis, `across` from a line of pixels to the next line. */
struct layout {
    ptrdiff_t step, across;
};

static int resize_axis(const uint8_t *pixels, struct layout from, int lines, int input_size, uint8_t *resized,
                       struct layout to, int output_size) {
    double scale = (double)input_size / output_size;
    double support = scale > 1.0 ? scale : 1.0;
    size_t most = 2 * (size_t)ceil(support) + 1;
    double *weights = malloc(most * sizeof *weights);
    int32_t *fixed = malloc(most * sizeof *fixed);
    if (weights == NULL || fixed == NULL) {
        free(weights);
        free(fixed);
        return -1;
    }
    for (int position = 0; position < output_size; position++) {
        double center = (position + 0.5) * scale, sum = 0.0;
        int first = (int)(center - support + 0.5), end = (int)(center + support + 0.5);
        if (first < 0) {
            first = 0;
        }
        if (end > input_size) {
            end = input_size;
        }
        int count = end - first;
        for (int index = 0; index < count; index++) {
            double distance = fabs((first + index - center + 0.5) * (1.0 / support));
            weights[index] = distance < 1.0 ? 1.0 - distance : 0.0;
            sum += weights[index];
        }
        for (int index = 0; index < count; index++) {
            fixed[index] = (int32_t)(0.5 + weights[index] / sum * (1 << FRACTION_BITS));
        }
        for (int line = 0; line < lines; line++) {
            const uint8_t *at = pixels + line * from.across + first * from.step;
            int32_t value = 1 << (FRACTION_BITS - 1);
            for (int index = 0; index < count; index++) {
                value += fixed[index] * at[index * from.step];
            }
            value >>= FRACTION_BITS;
            resized[line * to.across + position * to.step] = (uint8_t)(value < 255 ? value : 255);
        }
    }
    free(weights);
    free(fixed);
    return 0;
}

static int resize_rows(const uint8_t *pixels, int width, int height, int size, uint8_t *resized) {
    if (width == size) {
        memcpy(resized, pixels, (size_t)width * height);
        return 0;
    }
    return resize_axis(pixels, (struct layout){1, width}, height, width, resized, (struct layout){1, size}, size);
}

static int resize_columns(const uint8_t *pixels, int width, int height, int size, uint8_t *resized) {
    if (height == size) {
        memcpy(resized, pixels, (size_t)width * height);
        return 0;
    }
    return resize_axis(pixels, (struct layout){width, 1}, width, height, resized, (struct layout){width, 1}, size);
}

int resize_bilinear(const uint8_t *pixels, int width, int height, int size, uint8_t *resized) {
    /* As Pillow 13 where the image shrinks much more in height than in width; Pillow 12 does not, which makes a
     * difference of about one grey level. */
    int columns_first = height > size && height - size > 2 * (width - size), failed;
    uint8_t *between = malloc((size_t)size * (columns_first ? width : height));
    if (between == NULL) {
        return -1;
    }
    if (columns_first) {
        failed = resize_columns(pixels, width, height, size, between);
        failed = failed || resize_rows(between, width, size, size, resized);
    } else {
        failed = resize_rows(pixels, width, height, size, between);
        failed = failed || resize_columns(between, size, height, size, resized);
    }
    free(between);
    return failed ? -1 : 0;
}
