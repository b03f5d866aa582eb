namespace OrleansCluster.Api;

/// <summary>
/// Parser of the text form of label selectors.
/// <code>
/// selector    = requirement { "," requirement }
/// requirement = "!" key | key [ operation ]
/// operation   = ( "=" | "==" | "!=" ) [ value ] | ( "in" | "notin" ) "(" [ value ] { "," [ value ] } ")" | ( "&gt;" | "&lt;" ) integer
/// </code>
/// Blanks may stand between all tokens. Odd cases: a value may be empty (`k=` is `k` equal to the empty text); `in` and `notin` may be keys and
/// values too; a comma at the end is an error.
/// </summary>
internal ref struct LabelSelectorParser(ReadOnlySpan<char> text)
{
    private readonly ReadOnlySpan<char> _text = text;
    private int _position;

    /// <summary>Appends the requirements; answers null, or what is wrong.</summary>
    public string? Run(List<LabelRequirement> requirements)
    {
        while (true)
        {
            if (Requirement(requirements) is { } wrong)
                return wrong;
            var token = Next();
            if (token.Length == 0)
                return null;
            if (token is not ",")
                return $"found '{token}', expected: ',' or 'end of string'";
            if (Peek().Length == 0)
                return "found '', expected: identifier after ','";
        }
    }

    private string? Requirement(List<LabelRequirement> requirements)
    {
        var token = Next();
        var absent = token is "!";
        if (absent)
            token = Next();
        if (token.Length == 0 || IsSymbol(token))
            return $"found '{token}', expected: !, identifier, or 'end of string'";
        var key = token.ToString();
        if (NameSyntax.QualifiedName(key) is { } wrong)
            return $"key: Invalid value: \"{key}\": {wrong}";
        if (absent)
        {
            requirements.Add(new LabelRequirement(key, LabelOperator.DoesNotExist, []));
            return null;
        }

        var operation = Peek();
        if (operation.Length == 0 || operation is ",")
        {
            requirements.Add(new LabelRequirement(key, LabelOperator.Exists, []));
            return null;
        }
        Next();
        switch (operation)
        {
            case "=" or "==":
                return Single(requirements, key, LabelOperator.Equal);
            case "!=":
                return Single(requirements, key, LabelOperator.NotEqual);
            case ">":
                return Single(requirements, key, LabelOperator.GreaterThan);
            case "<":
                return Single(requirements, key, LabelOperator.LessThan);
            case "in":
                return Set(requirements, key, LabelOperator.In);
            case "notin":
                return Set(requirements, key, LabelOperator.NotIn);
            default:
                return $"found '{operation}', expected: in, notin, =, ==, !=, gt, lt";
        }
    }

    private string? Single(List<LabelRequirement> requirements, string key, LabelOperator kind)
    {
        var token = Peek();
        var value = "";
        if (token.Length > 0 && token is not ",")
        {
            Next();
            if (IsSymbol(token))
                return $"found '{token}', expected: identifier";
            value = token.ToString();
        }
        if (kind is LabelOperator.GreaterThan or LabelOperator.LessThan)
        {
            if (!long.TryParse(value, System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out _))
                return $"values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer";
        }
        else if (NameSyntax.LabelValue(value) is { } wrong)
        {
            return $"values[0][{key}]: Invalid value: \"{value}\": {wrong}";
        }
        requirements.Add(new LabelRequirement(key, kind, [value]));
        return null;
    }

    private string? Set(List<LabelRequirement> requirements, string key, LabelOperator kind)
    {
        var token = Next();
        if (token is not "(")
            return $"found '{token}', expected: '('";
        var values = new SortedSet<string>(StringComparer.Ordinal);
        var pending = "";
        while (true)
        {
            token = Next();
            switch (token)
            {
                case "," or ")":
                    if (NameSyntax.LabelValue(pending) is { } wrong)
                        return $"values[{values.Count}][{key}]: Invalid value: \"{pending}\": {wrong}";
                    values.Add(pending);
                    pending = "";
                    if (token is ",")
                        continue;
                    requirements.Add(new LabelRequirement(key, kind, [.. values]));
                    return null;
                case "":
                    return "found '', expected: ',' or ')'";
                default:
                    if (IsSymbol(token) || pending.Length > 0)
                        return $"found '{token}', expected: ',' or ')'";
                    pending = token.ToString();
                    continue;
            }
        }
    }

    private ReadOnlySpan<char> Peek()
    {
        var before = _position;
        var token = Next();
        _position = before;
        return token;
    }

    // A token is one of ( ) , ! != = == > < or a run of anything else; the empty span is the end.
    private ReadOnlySpan<char> Next()
    {
        while (_position < _text.Length && char.IsWhiteSpace(_text[_position]))
            _position++;
        var start = _position;
        if (start == _text.Length)
            return [];
        var first = _text[_position++];
        if (first is '(' or ')' or ',' or '>' or '<')
            return _text[start.._position];
        if (first is '=' or '!')
        {
            if (_position < _text.Length && _text[_position] == '=')
                _position++;
            return _text[start.._position];
        }
        while (_position < _text.Length && !char.IsWhiteSpace(_text[_position]) && !"(),!=<>".Contains(_text[_position], StringComparison.Ordinal))
            _position++;
        return _text[start.._position];
    }

    private static bool IsSymbol(ReadOnlySpan<char> token) => token is "(" or ")" or "," or "!" or "!=" or "=" or "==" or ">" or "<";
}
