/*
 * leaf.h
 *		An SQL leaf of a rule while it is analysed: what leaf.c, columns.c and
 *		event_columns.c share; private to rules/.
 */
#ifndef MA_RULES_LEAF_H
#define MA_RULES_LEAF_H

#include "rules/columns.h"
#include "utils/jsonb.h"

/* Aliases of the row, and of images (jsonb) that are handed to the statement. */
#define MA_ROW_ALIAS "t"
#define MA_ENTRY_ALIAS "entry"
#define MA_PERSON_ALIAS "contact_image"
/* Of what the row's lookups hold, where the row is an image itself. */
#define MA_LOOKUP_ALIAS "lookup_image"
/* Of a row whose occurred_at is the instant of the evaluation. */
#define MA_CLOCK_ALIAS "moment"

typedef Node *(*MaLeafResolve) (List *names, int location, void *arg);

/* A leaf being analysed. */
typedef struct MaLeaf
{
	MaParser   *parser;
	int			first;			/* tokens */
	int			end;
	char	   *source;			/* instead of tokens: the SQL, behind blanks */
	int			start;			/* byte of the rule where it begins */
	int			blanks;			/* characters of the rule before it */
	List	   *insertions;		/* a table's name before a bare column */
	MaScopeTable *tables;
	MaSource  **sources;		/* of contacts: the source of each table */
	int			ntables;
	int			contact;		/* the table of a contact's own fields; those of sources follow */
	int			ncontact;		/* up to this one */

	/* Over rows of an event: which one, and which of its sources. */
	MaEvent    *event;
	List	   *parts;			/* MaEventSource */
	MaEventSource *source_part;
	Jsonb	   *properties;
	MaStream   *stream;
	bool		recheck;		/* of sql (...): with sub-selects and the clock */
	bool		direct;			/* columns of contacts as such, not their images */
	bool		reads_contact;
	bool		reads_entry;
	List	   *lookups;		/* MaLookup: tables it reads */
	List	   *lookup_columns; /* char *: "product.category" */
} MaLeaf;

/*
 * Analyses the leaf; *text becomes what is shown of it and read again.  What is
 * printed for who has no search path is the user's words where they mean the same.
 */
extern MaScopedExpression *ma_leaf_analyse(MaLeaf *leaf, Oid type, MaLeafResolve resolve,
										   char **text);

/* A place in the leaf's source as a byte of the rule. */
extern int	ma_leaf_byte(const MaLeaf *leaf, int location);

/* The table's name goes before the token when the leaf is shown. */
extern void ma_leaf_insert(MaLeaf *leaf, int token, const char *text);

extern void ma_leaf_unknown_column(MaLeaf *leaf, const char *name, int location,
								   List *candidates) pg_attribute_noreturn();

/* entry.x: a member of the image of the entry's row. */
extern Node *ma_leaf_entry_member(MaLeaf *leaf, List *names, int location);

/* ---- lookup.c ---- */

/* name.column of a lookup of the event's; NULL: there is no such lookup. */
extern Node *ma_leaf_lookup(MaLeaf *leaf, const char *name, const char *column, int location);
/* The lookup of this name of the leaf's source, noted with the column it reads; NULL: none. */
extern MaLookup *ma_leaf_take_lookup(MaLeaf *leaf, const char *name, const char *column,
									 int location);
/* The type of its key; InvalidOid if the column is gone. */
extern Oid	ma_lookup_key_type(const MaLookup *lookup);
/* A type's name to cast a text to: "character" without a length would cut it. */
extern char *ma_leaf_type(Oid type);
/* "lookup.column" (char *) with each lookup of these parts (MaEventSource), for hints. */
extern List *ma_lookup_names(const List *parts, const char *column);

/* ---- lookup_images.c ---- */

/* What is read of one lookup for rows that are images. */
typedef struct MaLookupRead
{
	MaLookup   *lookup;
	List	   *columns;		/* char * */
	MaStatement statement;
} MaLookupRead;

/* Adds a column to the MaLookupRead of a list. */
extern void ma_lookup_reads_add(List **reads, MaLookup *lookup, const char *column);
/* Makes their statements; `source` is where the images are of. */
extern void ma_lookup_reads_prepare(List *reads, const MaEventSource *source);
extern void ma_lookup_reads_forget(List *reads);
/* For each row (jsonb) an image (jsonb) with members "lookup.column". */
extern Datum *ma_lookup_images(List *reads, const MaEventSource *source, Datum *rows, int n,
							   MaRun how);

/* ---- row_names.c ---- */

/* Something of the users' that a condition on a row names. */
typedef struct MaRowName
{
	const char *kind;			/* as MaBuiltinColumn.kind */
	char	   *name;
} MaRowName;

/* All (MaRowName *) that a checked condition names, over rows of these events. */
extern List *ma_row_names(Node *tree, const MaEvent *event, const MaEvent *entry_event);
/* Those (char *) of this kind among them. */
extern List *ma_row_names_of(const List *named, const char *kind);

/* ---- columns.c ---- */

/* Adds the tables of contacts to the leaf's, which has room for them. */
extern void ma_leaf_add_contacts(MaLeaf *leaf);
/* contact.x or table.x of contacts; NULL: the first name is none of their tables. */
extern Node *ma_leaf_contact_column(MaLeaf *leaf, List *names, int location);
/* The same as a member of the contact's image, with the attribute it is made from. */
extern Node *ma_leaf_contact_image(MaLeaf *leaf, List *names, int location,
								   MaAttribute **attribute);

#endif							/* MA_RULES_LEAF_H */
