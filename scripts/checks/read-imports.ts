import ts from "typescript";
import type { Import } from "./import-rules.ts";

/** Every import, re-export and `import()` of a source text. */
export function readImports(path: string, text: string): Import[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const imports: Import[] = [];
  const add = (specifier: ts.Expression | undefined, node: ts.Node, names: readonly string[], typeOnly: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) return;
    imports.push({ specifier: specifier.text, names, typeOnly, line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1 });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) addImport(node, add);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node, [], node.isTypeOnly);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], node, [], false);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return imports;
}

function addImport(node: ts.ImportDeclaration, add: (specifier: ts.Expression, node: ts.Node, names: readonly string[], typeOnly: boolean) => void): void {
  const bindings = node.importClause?.namedBindings;
  const named = bindings !== undefined && ts.isNamedImports(bindings) ? [...bindings.elements] : [];
  const clauseIsType = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
  const values = named.filter((element) => !clauseIsType && !element.isTypeOnly);
  const onlyTypes = clauseIsType || (named.length > 0 && values.length === 0 && node.importClause?.name === undefined);
  add(
    node.moduleSpecifier,
    node,
    values.map((element) => (element.propertyName ?? element.name).text),
    onlyTypes,
  );
}
