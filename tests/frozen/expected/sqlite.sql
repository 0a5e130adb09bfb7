CREATE TABLE environments (
	id INTEGER NOT NULL,
	digest VARCHAR NOT NULL,
	data TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (digest)
);
CREATE TABLE experiments (
	name VARCHAR NOT NULL,
	spec TEXT NOT NULL,
	created FLOAT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE properties (
	name VARCHAR NOT NULL,
	value VARCHAR NOT NULL,
	PRIMARY KEY (name)
)
 WITHOUT ROWID;
CREATE TABLE trials (
	id INTEGER NOT NULL,
	digest VARCHAR NOT NULL,
	identity TEXT NOT NULL,
	trial TEXT NOT NULL,
	seed BIGINT NOT NULL,
	params TEXT NOT NULL,
	steps BIGINT NOT NULL,
	tokens BIGINT NOT NULL,
	exposures FLOAT NOT NULL,
	flops FLOAT NOT NULL,
	origin VARCHAR NOT NULL,
	extra TEXT NOT NULL,
	state VARCHAR NOT NULL,
	step BIGINT,
	seconds FLOAT,
	metrics TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (digest)
);
CREATE TABLE artifacts (
	trial INTEGER NOT NULL,
	name VARCHAR NOT NULL,
	place TEXT NOT NULL,
	PRIMARY KEY (trial, name),
	FOREIGN KEY(trial) REFERENCES trials (id)
);
CREATE TABLE attempts (
	id INTEGER NOT NULL,
	"key" VARCHAR NOT NULL,
	trial INTEGER NOT NULL,
	environment INTEGER NOT NULL,
	owner VARCHAR NOT NULL,
	numerics TEXT NOT NULL,
	state VARCHAR NOT NULL,
	started FLOAT NOT NULL,
	ended FLOAT,
	resumed BIGINT NOT NULL,
	step BIGINT,
	seconds FLOAT,
	error TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE ("key"),
	FOREIGN KEY(trial) REFERENCES trials (id),
	FOREIGN KEY(environment) REFERENCES environments (id)
);
CREATE INDEX ix_attempts_trial ON attempts (trial);
CREATE TABLE claims (
	trial INTEGER NOT NULL,
	owner VARCHAR NOT NULL,
	until FLOAT NOT NULL,
	PRIMARY KEY (trial),
	FOREIGN KEY(trial) REFERENCES trials (id)
);
CREATE INDEX ix_claims_owner ON claims (owner);
CREATE TABLE fits (
	"key" VARCHAR NOT NULL,
	experiment VARCHAR NOT NULL,
	law VARCHAR NOT NULL,
	created FLOAT NOT NULL,
	record TEXT NOT NULL,
	result TEXT NOT NULL,
	draws BLOB NOT NULL,
	PRIMARY KEY ("key"),
	FOREIGN KEY(experiment) REFERENCES experiments (name)
);
CREATE INDEX ix_fits_experiment ON fits (experiment);
CREATE TABLE memberships (
	experiment VARCHAR NOT NULL,
	trial INTEGER NOT NULL,
	position INTEGER NOT NULL,
	axes TEXT NOT NULL,
	replicate INTEGER NOT NULL,
	PRIMARY KEY (experiment, trial),
	FOREIGN KEY(experiment) REFERENCES experiments (name),
	FOREIGN KEY(trial) REFERENCES trials (id)
);
CREATE INDEX ix_memberships_trial ON memberships (trial);
CREATE TABLE metrics (
	trial INTEGER NOT NULL,
	name VARCHAR NOT NULL,
	step BIGINT NOT NULL,
	value FLOAT,
	PRIMARY KEY (trial, name, step),
	FOREIGN KEY(trial) REFERENCES trials (id)
)
 WITHOUT ROWID;
CREATE TABLE sources (
	experiment VARCHAR NOT NULL,
	path VARCHAR NOT NULL,
	PRIMARY KEY (experiment),
	FOREIGN KEY(experiment) REFERENCES experiments (name)
);
