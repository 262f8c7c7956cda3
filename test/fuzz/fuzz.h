/*
 * fuzz.h
 *		What the harnesses share (shim.c).
 */
#ifndef MA_FUZZ_H
#define MA_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern int	fuzz_run(void (*target) (char *text, int length), const uint8_t *data, size_t size);
extern bool fuzz_is_text(const char *text, int length);
extern void fuzz_fail(const char *what) __attribute__((noreturn));

/* libFuzzer calls it with each input. */
extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif							/* MA_FUZZ_H */
