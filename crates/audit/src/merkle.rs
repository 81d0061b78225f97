//! The Merkle tree hash of RFC 6962, section 2.1 (the same in RFC 9162): leaves are hashed with a zero byte in front,
//! nodes with a one, and a tree that is no power of two splits at the largest power of two below its size.

use sha2::{Digest, Sha256};

use crate::chain::Hash;

/// The hash of a leaf: the line without its LF.
pub(crate) fn leaf(line: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(line).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The root of the tree without leaves.
pub(crate) fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The roots of the full subtrees that a growing tree consists of, largest first: all that is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// `None` when the number of roots does not fit the size.
    pub(crate) fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize).then_some(Self { size, roots })
    }

    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each trailing one of the size is a full subtree that the new leaf completes.
        for _ in 0..self.size.trailing_ones() {
            let left = self.roots.pop().expect("one root per one in the size");
            hash = node(&left, &hash);
        }
        self.roots.push(hash);
        self.size += 1;
    }

    pub(crate) fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else { return empty_root() };
        roots.fold(*last, |hash, left| node(left, &hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::hex;

    /// The leaves and roots of Certificate Transparency's own test (RFC 6962 reference implementation).
    #[test]
    fn the_published_roots_come_out() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Frontier::default();
        assert_eq!(hex(&tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (data, root) in leaves.iter().zip(roots) {
            tree.push(leaf(data));
            assert_eq!(hex(&tree.root()), root);
        }
    }

    /// The definition as the RFC writes it.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&by_definition(&many[..split]), &by_definition(&many[split..]))
            }
        }
    }

    #[test]
    fn every_size_agrees_with_the_definition() {
        let leaves: Vec<Hash> = (0..200u16).map(|i| leaf(&i.to_be_bytes())).collect();
        let mut tree = Frontier::default();
        for (index, hash) in leaves.iter().enumerate() {
            tree.push(*hash);
            assert_eq!(tree.root(), by_definition(&leaves[..=index]), "size {}", index + 1);
            let again = Frontier::from_parts(tree.size(), tree.roots().to_vec()).unwrap();
            assert_eq!(again, tree);
        }
    }
}
