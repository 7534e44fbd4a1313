/*
 * Asks a kernel's own configuration library why options did not get their value.
 *
 * Linked with the objects of scripts/kconfig and started by the kernel's Makefile in the place of its question and
 * answer program, so that it sees the environment that Kconfig files are written for. The names come in the
 * environment variable EXPLAIN_SYMBOLS, separated by blanks. For each, one line of fields between tabs on standard
 * output: the word EXPLAIN, the name, its value, whether a person can set it, what it depends on that is not there,
 * and what switches it on by itself. Nothing is written to disk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkc.h"

static void add_text(struct expr *expr, struct gstr *out)
{
	if (strlen(str_get(out)))
		str_append(out, " && ");
	if (expr->type == E_OR)
		str_append(out, "(");
	expr_gstr_print(expr, out);
	if (expr->type == E_OR)
		str_append(out, ")");
}

/* Of a conjunction only the parts that fail; there may be dozens that hold. */
static void add_unmet(struct expr *expr, struct gstr *out)
{
	struct property *prop;

	if (!expr || expr_calc_value(expr) == yes)
		return;
	if (expr->type == E_AND) {
		add_unmet(expr->left.expr, out);
		add_unmet(expr->right.expr, out);
		return;
	}
	/* A symbol without a name is the group of alternatives that the option belongs to. */
	if (expr->type == E_SYMBOL && !expr->left.sym->name) {
		for_all_prompts(expr->left.sym, prop)
			add_unmet(prop->visible.expr, out);
		return;
	}
	add_text(expr, out);
}

/* Each alternative of a reverse dependency begins with the option that selects. */
static void add_selectors(struct expr *expr, struct gstr *out)
{
	if (expr->type == E_OR) {
		add_selectors(expr->left.expr, out);
		add_selectors(expr->right.expr, out);
		return;
	}
	if (expr_calc_value(expr) == no)
		return;
	while (expr->type == E_AND)
		expr = expr->left.expr;
	if (strlen(str_get(out)))
		str_append(out, ", ");
	expr_gstr_print(expr, out);
}

static void explain(const char *name)
{
	struct gstr unmet = str_new(), selectors = str_new();
	struct symbol *sym = sym_find(name);
	struct property *prop;
	int prompts = 0, visible = 0;

	if (!sym || sym->type == S_UNKNOWN) {
		printf("EXPLAIN\t%s\t\tunknown\t\t\n", name);
		return;
	}
	sym_calc_value(sym);
	for_all_prompts(sym, prop) {
		prompts++;
		if (!prop->visible.expr || expr_calc_value(prop->visible.expr) == yes)
			visible++;
	}
	for_all_prompts(sym, prop)
		if (!visible)
			add_unmet(prop->visible.expr, &unmet);
	if (!prompts)
		add_unmet(sym->dir_dep.expr, &unmet);
	if (sym->rev_dep.expr)
		add_selectors(sym->rev_dep.expr, &selectors);
	printf("EXPLAIN\t%s\t%s\t%s\t%s\t%s\n", name, sym_get_string_value(sym), prompts ? "choice" : "derived",
	       str_get(&unmet), str_get(&selectors));
}

int main(int argc, char **argv)
{
	const char *given = getenv("EXPLAIN_SYMBOLS");
	char *names = strdup(given ? given : "");
	char *name;

	conf_parse(argv[argc - 1]);
	conf_read(NULL);
	for (name = strtok(names, " "); name; name = strtok(NULL, " "))
		explain(name);
	return 0;
}
