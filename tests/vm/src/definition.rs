//! The two appliances that most machines boot: what their repart.d file asks for, and the key of the encrypted one.

/// A root that is not encrypted.
pub const PLAIN: &str = "[Partition]\nType=root\nFormat=ext4\nEncrypt=off\n";

/// A root that the key file opens.
pub const ENCRYPTED: &str = "[Partition]\nType=root\nFormat=ext4\nEncrypt=key-file\n";

/// A key file: 64 bytes, random once, the same in every run so that initramfs come from the cache.
pub const KEY: [u8; 64] = *b"\x8f\x12\x5e\xc3\x00\x0a\xf1\x7b\x66\xd4\x93\x2c\xee\x41\x08\xb5\
                             \x1d\xa9\x7f\x30\xc8\x5a\xe2\x04\x97\x6b\xbd\x23\xfa\x11\x8c\x4e\
                             \x52\x39\xdb\xa0\x16\xf7\x84\x6d\xc1\x2e\x95\x78\x03\xbc\xea\x5f\
                             \x49\x90\x07\xd8\xab\x3e\x62\xf5\x1c\x83\xb7\x2a\x6e\xd1\x54\x99";
