/* The public face of the parameters. */
#include "server/server.h"
#include <stdlib.h>

struct madang_config {
    struct mdg_params params;
    char why[400];
};

static_assert(sizeof(struct madang_param) == sizeof(struct mdg_param_info),
              "madang_param hands out rows of the table as they are");

int madang_config_new(struct madang_config **out)
{
    struct madang_config *config = calloc(1, sizeof *config);
    *out = NULL;
    if (!config)
        return MDG_E_NO_MEMORY;
    int err = mdg_params_init(&config->params);
    if (err < 0) {
        free(config);
        return err;
    }
    *out = config;
    return 0;
}

void madang_config_free(struct madang_config *config)
{
    if (!config)
        return;
    mdg_params_fini(&config->params);
    free(config);
}

int madang_config_set(struct madang_config *config, const char *name, const char *value)
{
    return mdg_params_set(&config->params, name, value, config->why, sizeof config->why);
}

const char *madang_config_error(const struct madang_config *config)
{
    return config->why;
}

const struct mdg_params *mdg_config_params(const struct madang_config *config)
{
    return &config->params;
}

const struct madang_param *madang_param(size_t i)
{
    return (const struct madang_param *)(const void *)mdg_param_info(i);
}
