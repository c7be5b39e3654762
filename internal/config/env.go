package config

import (
	"fmt"
	"reflect"
)

// environment sets every field with an env tag whose variable is set and not
// empty.
func environment(into any, lookup func(string) (string, bool)) error {
	return setEnvironment(reflect.ValueOf(into).Elem(), lookup)
}

func setEnvironment(v reflect.Value, lookup func(string) (string, bool)) error {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if fv.Kind() == reflect.Struct && !isScalar(fv.Type()) {
			if err := setEnvironment(fv, lookup); err != nil {
				return err
			}
			continue
		}
		name := f.field.Tag.Get("env")
		if name == "" {
			continue
		}
		if text, ok := lookup(name); ok && text != "" {
			if err := setText(fv, text); err != nil {
				return fmt.Errorf("environment %s: %w", name, err)
			}
		}
	}
	return nil
}
