// Checks a mirror of a transparency log with the implementation of the Go checksum database, which shares no code with ours.
//
//	c2sp MIRROR KEY [EARLIER...]
//
// MIRROR is a directory in the layout of C2SP tlog-tiles, KEY a file with a C2SP verifier key, each EARLIER a checkpoint of the same log.
// The checkpoint has to be signed, every entry to stand in the log, and the log to go on from each earlier checkpoint, and from each of
// its own beginnings. Exit code 0 if all of it holds, 1 if something does not.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8 // binary levels of a tile

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: c2sp MIRROR KEY [EARLIER...]")
		os.Exit(2)
	}
	said, err := check(mirror(os.Args[1]), os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "c2sp:", err)
		os.Exit(1)
	}
	fmt.Println(said)
}

func check(m mirror, keyFile string, earlier []string) (string, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return "", err
	}
	verifier, err := note.NewVerifier(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return "", fmt.Errorf("the key: %w", err)
	}
	tree, err := checkpoint(filepath.Join(string(m), "checkpoint"), verifier)
	if err != nil {
		return "", err
	}
	// Every hash that comes from here was proven to be in the tree.
	hashes := tlog.TileHashReader(tree, m)
	if err := m.entries(tree, hashes); err != nil {
		return "", err
	}
	for size := int64(1); size <= tree.N; size++ {
		root, err := tlog.TreeHash(size, hashes)
		if err != nil {
			return "", fmt.Errorf("the root of the first %d entries: %w", size, err)
		}
		if err := goesOn(tlog.Tree{N: size, Hash: root}, tree, hashes); err != nil {
			return "", err
		}
	}
	for _, file := range earlier {
		old, err := checkpoint(file, verifier)
		if err != nil {
			return "", err
		}
		if err := goesOn(old, tree, hashes); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d entries, %d earlier checkpoints", tree.N, len(earlier)), nil
}

// checkpoint reads a signed checkpoint, whose origin is the name of the key.
func checkpoint(file string, verifier note.Verifier) (tlog.Tree, error) {
	signed, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", file, err)
	}
	// tlog.ParseTree knows the origin of the Go checksum database only.
	rest, ok := strings.CutPrefix(opened.Text, verifier.Name()+"\n")
	if !ok {
		return tlog.Tree{}, fmt.Errorf("%s: it is of another log", file)
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + rest))
}

// goesOn proves that the tree begins with the older one.
func goesOn(old, tree tlog.Tree, hashes tlog.HashReader) error {
	proof, err := tlog.ProveTree(tree.N, old.N, hashes)
	if err != nil {
		return fmt.Errorf("consistency from %d entries: %w", old.N, err)
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("consistency from %d entries: %w", old.N, err)
	}
	return nil
}

// mirror is the directory; it reads tiles for package tlog.
type mirror string

func (mirror) Height() int { return height }

func (mirror) SaveTiles([]tlog.Tile, [][]byte) {}

func (m mirror) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(m.path(tile))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", m.path(tile), len(data))
		}
		all = append(all, data)
	}
	return all, nil
}

// path has no height in it, and its entries are called so, which is where C2SP differs from the Go checksum database.
func (m mirror) path(tile tlog.Tile) string {
	path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
	return filepath.Join(string(m), strings.Replace(path, "tile/data/", "tile/entries/", 1))
}

// entries proves of every entry of every bundle that it stands in the tree.
func (m mirror) entries(tree tlog.Tree, hashes tlog.HashReader) error {
	for first := int64(0); first < tree.N; first += 1 << height {
		width := min(tree.N-first, 1<<height)
		bundle, err := os.ReadFile(m.path(tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)}))
		if err != nil {
			return err
		}
		for index := first; index < first+width; index++ {
			entry, rest, err := next(bundle)
			if err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			bundle = rest
			proof, err := tlog.ProveRecord(tree.N, index, hashes)
			if err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
		}
		if len(bundle) > 0 {
			return fmt.Errorf("%d bytes are left over after entry %d", len(bundle), first+width-1)
		}
	}
	return nil
}

// next takes the next entry off a bundle: two bytes of length, then the entry.
func next(bundle []byte) (entry, rest []byte, err error) {
	if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
		return nil, nil, errors.New("the bundle ends within it")
	}
	end := 2 + int(binary.BigEndian.Uint16(bundle))
	return bundle[2:end], bundle[end:], nil
}
