package record

// NumOperations is how many operations the catalogue names.
const NumOperations = len(catalogue)

// OperationAt returns row i of the catalogue, in the order of [Operations],
// which must not be changed; nil if there is none.
func OperationAt(i int) *Operation {
	if i < 0 || i >= NumOperations {
		return nil
	}
	return &catalogue[i]
}

// OperationIndex returns the index of the operation in the catalogue. It is
// [LookupOperation] for what is asked for every record.
func OperationIndex(name string) (i int, known bool) {
	if len(name) == 0 {
		return 0, false
	}
	for slot := operationHash(name); ; slot++ {
		i := int(operationSlots[slot])
		if i == 0 {
			return 0, false
		}
		if catalogue[i-1].Name == name {
			return i - 1, true
		}
	}
}

// operationSlots is a hash table of the catalogue: indexes plus one, each in the first free slot from the
// hash of its name on. A slot's number is a byte, so the search comes round
// at the end; most of the slots are free.
var operationSlots = hashCatalogue()

func hashCatalogue() (slots [256]uint8) {
	for i := range catalogue {
		slot := operationHash(catalogue[i].Name)
		for slots[slot] != 0 {
			slot++
		}
		slots[slot] = uint8(i + 1)
	}
	return slots
}

// operationHash is of a few bytes of the name, which is not empty. They tell
// nearly all operations apart.
func operationHash(name string) uint8 {
	n := len(name)
	h := uint32(n)<<24 ^ uint32(name[n-1])<<16 ^ uint32(name[n/2])<<8 ^ uint32(name[n/4])
	return uint8(h * 0x9e3779b1 >> 24)
}
