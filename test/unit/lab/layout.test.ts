import t from "tap";
import { chooseSubnet, hostOf, layoutOf } from "../../../nodes/lab/layout.ts";

t.test("a lab's names follow from its folder, and fit where they go", async (t) => {
  const one = layoutOf("/checkout/one", "main");
  const two = layoutOf("/checkout/two", "main");
  if (!one.ok || !two.ok) throw new Error("a plain name is a name");
  t.same(one, layoutOf("/checkout/one", "main"));
  t.not(one.value.tag, two.value.tag, "two checkouts never share a tag");
  t.ok(one.value.machineLink.length <= 15, "interface names have 15 characters");
  t.equal(one.value.folder, "/checkout/one/.lab/main");
  t.match(hostOf(one.value, "10.231.7", 3, "b"), {
    name: "h3",
    address: "10.231.7.13",
    cgroup: `cc-lab-${one.value.tag}/h3`,
    folder: "/checkout/one/.lab/main/hosts/h3",
  });
  t.match(hostOf(one.value, "10.231.7", 3, "home", true), { name: "h3", home: true, address: "10.232.7.13" });
  for (const name of ["", "..", "a/b", "A", "-a"]) t.notOk(layoutOf("/checkout", name).ok, `"${name}" would leave the folder or the names`);
});

t.test("a subnet is chosen that nobody uses", async (t) => {
  const free = chooseSubnet("abcde", []);
  if (!free.ok) throw new Error("an empty machine has room");
  t.same(chooseSubnet("abcde", ["default", "0.0.0.0/0", "192.168.0.0/16"]), free, "a default route takes nothing");
  for (const taken of [`${free.value}.0/24`, `${free.value}.77`, `${free.value}.128/25`]) {
    t.not(JSON.stringify(chooseSubnet("abcde", [taken])), JSON.stringify(free), `${taken} is in use`);
  }
  for (const beside of ["10.232", "11.231"]) {
    const taken = [`${beside}.${free.value.split(".")[2]}.0/24`];
    t.same(chooseSubnet("abcde", taken), free, "of no matter without a home router");
    t.not(JSON.stringify(chooseSubnet("abcde", taken, true)), JSON.stringify(free), `${taken} is in use`);
  }
  t.match(chooseSubnet("abcde", ["10.0.0.0/8"]), { ok: false, code: "NO_ROOM" });
  const third = free.value.split(".")[2];
  const others = Array.from({ length: 256 }, (_, index) => index).filter((index) => String(index) !== third);
  t.same(
    chooseSubnet(
      "zzzzz",
      others.map((index) => `10.231.${index}.0/24`),
    ),
    free,
    "the last free one is found from anywhere",
  );
});
