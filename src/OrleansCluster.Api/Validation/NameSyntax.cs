using System.Net;
using System.Net.Sockets;

namespace OrleansCluster.Api;

/// <summary>
/// The syntaxes of names, label keys and values that the API knows (RFC 1123, RFC 1035 and the API's own). Every check answers null for a valid
/// text, else the message of the wire.
/// </summary>
internal static class NameSyntax
{
    public const int MaxLabelLength = 63;
    public const int MaxSubdomainLength = 253;

    public const string SubdomainMessage =
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an " +
        "alphanumeric character (e.g. 'example.com', regex used for validation is " +
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

    public const string LabelMessage =
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric " +
        "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

    public const string Label1035Message =
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an " +
        "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

    public const string QualifiedNamePartMessage =
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. " +
        "'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

    public const string QualifiedNameMessage =
        "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character " +
        "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an " +
        "optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";

    public const string LabelValueMessage =
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an " +
        "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is " +
        "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

    public const string ConfigKeyMessage =
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex " +
        "used for validation is '[-._a-zA-Z0-9]+')";

    public const string EnvVarMessage =
        "a valid environment variable name must consist only of printable ASCII characters other than '='";

    /// <summary>RFC 1123 label of at most 63 characters.</summary>
    public static string? Label(ReadOnlySpan<char> name) =>
        name.Length > MaxLabelLength ? TooLong(MaxLabelLength) : IsLabel(name) ? null : LabelMessage;

    /// <summary>RFC 1123 subdomain of at most 253 characters.</summary>
    public static string? Subdomain(ReadOnlySpan<char> name)
    {
        if (name.Length > MaxSubdomainLength)
            return TooLong(MaxSubdomainLength);
        foreach (var part in name.Split('.'))
        {
            if (!IsLabel(name[part]))
                return SubdomainMessage;
        }
        return null;
    }

    /// <summary>RFC 1035 label of at most 63 characters.</summary>
    public static string? Label1035(ReadOnlySpan<char> name) =>
        name.Length > MaxLabelLength ? TooLong(MaxLabelLength) : IsLabel(name) && char.IsAsciiLetterLower(name[0]) ? null : Label1035Message;

    /// <summary>One segment of a URL path.</summary>
    public static string? PathSegment(ReadOnlySpan<char> name) => name switch
    {
        "." => "may not be '.'",
        ".." => "may not be '..'",
        _ when name.Contains('/') => "may not contain '/'",
        _ when name.Contains('%') => "may not contain '%'",
        _ => null,
    };

    /// <summary>A name under a rule of <see cref="NameRule"/>.</summary>
    public static string? Name(NameRule rule, ReadOnlySpan<char> name) => rule switch
    {
        NameRule.DnsLabel => Label(name),
        NameRule.Dns1035Label => Label1035(name),
        NameRule.PathSegment => PathSegment(name),
        _ => Subdomain(name),
    };

    /// <summary>A label key, annotation key, finalizer or resource name: `[prefix/]name`.</summary>
    public static string? QualifiedName(ReadOnlySpan<char> text)
    {
        var slash = text.IndexOf('/');
        var name = text;
        if (slash >= 0)
        {
            name = text[(slash + 1)..];
            if (name.Contains('/'))
                return QualifiedNameMessage;
            if (slash == 0)
                return "prefix part must be non-empty";
            if (Subdomain(text[..slash]) is { } wrong)
                return "prefix part " + wrong;
        }
        if (name.Length == 0)
            return "name part must be non-empty";
        if (name.Length > MaxLabelLength)
            return "name part " + TooLong(MaxLabelLength);
        return IsWord(name) ? null : QualifiedNamePartMessage;
    }

    /// <summary>A label's value.</summary>
    public static string? LabelValue(ReadOnlySpan<char> value) =>
        value.Length > MaxLabelLength ? TooLong(MaxLabelLength) : value.Length == 0 || IsWord(value) ? null : LabelValueMessage;

    /// <summary>A key of a ConfigMap or Secret.</summary>
    public static string? ConfigKey(ReadOnlySpan<char> key)
    {
        if (key.Length > MaxSubdomainLength)
            return TooLong(MaxSubdomainLength);
        if (key is ".")
            return "must not be '.'";
        if (key is "..")
            return "must not be '..'";
        if (key.StartsWith("..", StringComparison.Ordinal))
            return "must not start with '..'";
        if (key.Length == 0)
            return ConfigKeyMessage;
        foreach (var c in key)
        {
            if (!IsWordCharacter(c))
                return ConfigKeyMessage;
        }
        return null;
    }

    /// <summary>Name of an environment variable.</summary>
    public static string? EnvVarName(ReadOnlySpan<char> name)
    {
        if (name.Length == 0)
            return EnvVarMessage;
        foreach (var c in name)
        {
            if (c is < ' ' or > '~' or '=')
                return EnvVarMessage;
        }
        return null;
    }

    /// <summary>Name of a port (IANA service name): lower-case letters, digits and single hyphens, at most 15, with a letter.</summary>
    public static IEnumerable<string> PortName(string name)
    {
        if (name.Length > 15)
            yield return TooLong(15);
        if (name.Length == 0 || name.Any(c => !char.IsAsciiLetterLower(c) && !char.IsAsciiDigit(c) && c != '-'))
            yield return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        if (!name.Any(char.IsAsciiLetterLower))
            yield return "must contain at least one letter (a-z)";
        if (name.Contains("--", StringComparison.Ordinal))
            yield return "must not contain consecutive hyphens";
        if (name.StartsWith('-') || name.EndsWith('-'))
            yield return "must not begin or end with a hyphen";
    }

    /// <summary>True for an IP address in its usual text form (four decimal parts, or IPv6).</summary>
    public static bool IsIP(string text) => TryParseIP(text, out _);

    /// <summary>Reads an IP address; short and octal IPv4 forms, zones and ports are refused.</summary>
    public static bool TryParseIP(string text, out IPAddress address)
    {
        if (IPAddress.TryParse(text, out var parsed) && !text.Contains('%', StringComparison.Ordinal) && !text.Contains('[', StringComparison.Ordinal)
            && (parsed.AddressFamily != AddressFamily.InterNetwork || text == parsed.ToString()))
        {
            address = parsed;
            return true;
        }
        address = IPAddress.None;
        return false;
    }

    /// <summary>The message for a text that is too long.</summary>
    public static string TooLong(int max) => $"must be no more than {max} characters";

    private static bool IsLabel(ReadOnlySpan<char> text)
    {
        if (text.Length == 0 || text[0] == '-' || text[^1] == '-')
            return false;
        foreach (var c in text)
        {
            if (!char.IsAsciiLetterLower(c) && !char.IsAsciiDigit(c) && c != '-')
                return false;
        }
        return true;
    }

    private static bool IsWord(ReadOnlySpan<char> text)
    {
        if (!char.IsAsciiLetterOrDigit(text[0]) || !char.IsAsciiLetterOrDigit(text[^1]))
            return false;
        foreach (var c in text)
        {
            if (!IsWordCharacter(c))
                return false;
        }
        return true;
    }

    private static bool IsWordCharacter(char c) => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.';
}
