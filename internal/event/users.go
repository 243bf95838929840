package event

// members reads the array of users whose bracket is at i.
func (d *Decoder) members(i int) int {
	if i = d.space(i + 1); d.at(i) == ']' {
		return i + 1
	}
	for more := true; more; {
		if d.at(i) == '{' {
			if i = d.properties(i, 3, &d.paths); i >= 0 {
				d.addUser()
			}
		} else {
			if d.fields.badUserAt == 0 {
				d.fields.badUserAt = i
			}
			i = d.skip(i, 2)
		}
		if i < 0 {
			return i
		}
		i, more = d.next(i, false)
	}
	return i
}

// addUser makes a user of what is in the slots.
func (d *Decoder) addUser() {
	first := len(d.values)
	for i, slot := range d.slots {
		if len(slot) == 0 {
			continue
		}
		for j := range slot {
			// By its fields, for the processor stalls on a copy in larger pieces than
			// it was written in just before.
			from := &slot[j]
			d.values = append(d.values, Value{})
			to := &d.values[len(d.values)-1]
			to.Bytes, to.Path, to.Kind, to.Invalid = from.Bytes, from.Path, from.Kind, from.Invalid
			from.Bytes = nil
		}
		d.slots[i] = slot[:0]
	}
	// A later growth of values moves on to new memory and leaves this as it is.
	d.users = append(d.users, User{Values: d.values[first:len(d.values):len(d.values)]})
}

// properties reads the object whose brace is at i, looking for the children of
// n. depth counts that object. The recursion is as deep as the longest path.
func (d *Decoder) properties(i, depth int, n *node) int {
	if i = d.space(i + 1); d.at(i) == '}' {
		return i + 1
	}
	for more := true; more; {
		var key token
		if key, i = d.key(i); i < 0 {
			return i
		}
		if child := n.find(d.name(key)); child == nil {
			i = d.skip(i, depth)
		} else {
			i = d.property(i, depth, child)
		}
		if i < 0 {
			return i
		}
		i, more = d.next(i, true)
	}
	return i
}

// property reads a wanted value, or one on the way to it.
func (d *Decoder) property(i, depth int, n *node) int {
	// The key may have been there before: the last one wins, wholly.
	for _, path := range n.under {
		d.slots[path] = emptied(d.slots[path])
	}
	c := d.at(i)
	if c == '[' && len(n.leaves) > 0 {
		return d.elements(i, depth+1, n)
	}
	if c == '{' && len(n.children) > 0 {
		d.put(n, Value{Kind: Other})
		return d.properties(i, depth+1, n)
	}
	v, i := d.value(i, depth)
	d.put(n, v)
	return i
}

// elements reads an array, each of whose elements is a value of n's paths.
// depth counts the array.
func (d *Decoder) elements(i, depth int, n *node) int {
	if i = d.space(i + 1); d.at(i) == ']' {
		return i + 1
	}
	for more := true; more; {
		var v Value
		if v, i = d.value(i, depth); i < 0 {
			return i
		}
		d.put(n, v)
		i, more = d.next(i, false)
	}
	return i
}

func (d *Decoder) put(n *node, v Value) {
	if v.Kind == absent {
		return
	}
	for _, path := range n.leaves {
		v.Path = path
		d.slots[path] = append(d.slots[path], v)
	}
}

// find returns the child of that name, or nil.
func (n *node) find(name []byte) *node {
	for i := range n.children {
		if n.children[i].name == string(name) {
			return &n.children[i]
		}
	}
	return nil
}
