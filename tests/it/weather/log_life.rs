//! An offset names a message only within one life of a log: topics that are recreated, lose their tail or restart their offsets (E1).
