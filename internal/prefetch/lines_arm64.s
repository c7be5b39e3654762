#include "textflag.h"

// func lines(p unsafe.Pointer, last uintptr)
TEXT ·lines(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD last+8(FP), R1
	PRFM (R0), PLDL1KEEP
	ADD  R1, R0
	PRFM (R0), PLDL1KEEP
	RET
