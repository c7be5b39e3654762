package pseudonym

import "math/bits"

// slowAES is AES-128 as FIPS 197 defines it, byte by byte over GF(2^8), to
// check the permutation against something that shares no code with it.
func slowAES(key, in [16]byte) [16]byte {
	w := slowSchedule(key)
	s := xor16(in, w[0])
	for round := 1; round <= 10; round++ {
		for i := range s {
			s[i] = subByte(s[i])
		}
		s = shiftRows(s)
		if round < 10 {
			s = mixColumns(s)
		}
		s = xor16(s, w[round])
	}
	return s
}

func slowSchedule(key [16]byte) (w [11][16]byte) {
	w[0] = key
	rcon := byte(1)
	for r := 1; r <= 10; r++ {
		prev, cur := w[r-1], &w[r]
		for i := range 4 {
			cur[i] = prev[i] ^ subByte(prev[12+(i+1)%4])
		}
		cur[0] ^= rcon
		rcon = gfMul(rcon, 2)
		for i := 4; i < 16; i++ {
			cur[i] = prev[i] ^ cur[i-4]
		}
	}
	return w
}

// gfMul multiplies in GF(2^8) modulo x^8+x^4+x^3+x+1 (FIPS 197 §4.2).
func gfMul(a, b byte) (p byte) {
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			p ^= a
		}
		carry := a&0x80 != 0
		a <<= 1
		if carry {
			a ^= 0x1b
		}
	}
	return p
}

// subByte is the S-box by its definition: inverse, then the affine map
// (FIPS 197 §5.1.1).
func subByte(a byte) byte {
	inv := byte(0)
	for x := 1; x < 256; x++ {
		if gfMul(a, byte(x)) == 1 {
			inv = byte(x)
		}
	}
	r := byte(0x63)
	for i := range 5 {
		r ^= bits.RotateLeft8(inv, i)
	}
	return r
}

func shiftRows(s [16]byte) (r [16]byte) {
	for i := range r {
		r[i] = s[(i+4*(i%4))%16]
	}
	return r
}

func mixColumns(s [16]byte) (r [16]byte) {
	for c := 0; c < 16; c += 4 {
		for i := range 4 {
			r[c+i] = gfMul(s[c+i], 2) ^ gfMul(s[c+(i+1)%4], 3) ^ s[c+(i+2)%4] ^ s[c+(i+3)%4]
		}
	}
	return r
}

func xor16(a, b [16]byte) [16]byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}
