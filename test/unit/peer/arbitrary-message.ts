import { create, type DescField, type DescMessage, type MessageInitShape, ScalarType, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";

/** Words that mean something to the peer under test: ids, keys, bytes of its own records. */
export type Vocabulary = { readonly strings: readonly string[]; readonly bytes: readonly Uint8Array[] };

const DEPTH_MAX = 4;
const LIST_MAX = 6;

/** Messages of any type that are well formed and otherwise arbitrary, half of their words from the vocabulary. */
export function arbitraryMessage(desc: DescMessage, words: Vocabulary, depth = 0): fc.Arbitrary<Record<string, unknown>> {
  const fields = desc.fields.map((field): [string, fc.Arbitrary<unknown>] => [field.localName, arbitraryField(field, words, depth)]);
  return fc.record(Object.fromEntries(fields), { requiredKeys: [] });
}

/** The same as bytes on the wire; now and then with a byte changed, or cut off, or just any bytes. */
export function arbitraryWire(desc: DescMessage, words: Vocabulary): fc.Arbitrary<Uint8Array> {
  const wellFormed = arbitraryMessage(desc, words).map((init) => toBinary(desc, create(desc, init as MessageInitShape<DescMessage>)));
  const broken = fc.tuple(wellFormed, fc.nat(), fc.nat(255), fc.boolean()).map(([bytes, at, value, cut]) => {
    const changed = Uint8Array.from(bytes);
    if (changed.length === 0) return changed;
    changed[at % changed.length] = value;
    return cut ? changed.subarray(0, at % changed.length) : changed;
  });
  return fc.oneof({ weight: 4, arbitrary: wellFormed }, { weight: 2, arbitrary: broken }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) });
}

function arbitraryField(field: DescField, words: Vocabulary, depth: number): fc.Arbitrary<unknown> {
  switch (field.fieldKind) {
    case "scalar":
      return arbitraryScalar(field.scalar, words);
    case "enum":
      return fc.constantFrom(...field.enum.values.map(({ number }) => number), 4_711);
    case "message":
      return depth < DEPTH_MAX ? arbitraryMessage(field.message, words, depth + 1) : fc.constant({});
    case "map":
      return fc.dictionary(arbitraryString(words), arbitraryString(words), { maxKeys: LIST_MAX });
    case "list":
      if (field.listKind === "scalar") return fc.array(arbitraryScalar(field.scalar, words), { maxLength: LIST_MAX });
      if (field.listKind === "message")
        return depth < DEPTH_MAX ? fc.array(arbitraryMessage(field.message, words, depth + 1), { maxLength: LIST_MAX }) : fc.constant([]);
      return fc.constant([]);
  }
}

const arbitraryString = (words: Vocabulary): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom("", ...words.strings) },
    fc.string({ maxLength: 40 }),
    fc.string({ unit: "binary", maxLength: 12 }).filter((text) => text.isWellFormed()),
  );

const EDGES = [0, 1, 2 ** 31, 2 ** 32 - 1];

function arbitraryScalar(scalar: ScalarType, words: Vocabulary): fc.Arbitrary<unknown> {
  switch (scalar) {
    case ScalarType.STRING:
      return arbitraryString(words);
    case ScalarType.BYTES:
      return fc.oneof(fc.constantFrom(new Uint8Array(), ...words.bytes), fc.uint8Array({ maxLength: 100 }));
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.DOUBLE:
      return fc.oneof(fc.double(), fc.constantFrom(0, -1, 1e15, 2 ** 53, Number.MAX_VALUE, Number.NaN, Number.POSITIVE_INFINITY));
    case ScalarType.FLOAT:
      return fc.float();
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return fc.oneof(fc.nat(2 ** 31), fc.constantFrom(...EDGES));
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return fc.integer();
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    default:
      return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  }
}
