using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace OrleansCluster.Tests;

/// <summary>
/// A strict reader of Prometheus' text form 0.0.4, in place of `promtool check metrics`: every sample belongs to a family whose TYPE came before it, no
/// family and no series comes twice, names and escapes are legal, and histograms are cumulative, end at +Inf and agree with their count.
/// </summary>
public sealed partial class Exposition
{
    private readonly Dictionary<string, Family> _families = new(StringComparer.Ordinal);

    private Exposition()
    {
    }

    public IReadOnlyCollection<string> Names => _families.Keys;

    public Family this[string name] =>
        _families.TryGetValue(name, out var family) ? family : throw new KeyNotFoundException($"no family {name} among {string.Join(", ", _families.Keys.Order(StringComparer.Ordinal))}");

    /// <exception cref="FormatException">The text breaks a rule; the message names the line.</exception>
    public static Exposition Parse(string text)
    {
        var result = new Exposition();
        if (text.Length > 0 && text[^1] != '\n')
            throw new FormatException("the last line has no end");
        Family? current = null;
        foreach (var line in text.Split('\n'))
        {
            if (line.Length == 0 || line == "# EOF")
                continue;
            if (line.StartsWith("# TYPE ", StringComparison.Ordinal))
            {
                var parts = line.Split(' ');
                Check(parts.Length == 4 && NameRule().IsMatch(parts[2]) && parts[3] is "counter" or "gauge" or "histogram" or "summary" or "untyped", line);
                current = result.Get(parts[2]);
                Check(current.Type is null && current.Samples.Count == 0, line);
                current.Type = parts[3];
            }
            else if (line.StartsWith("# HELP ", StringComparison.Ordinal))
            {
                var name = line.Split(' ', 4)[2];
                Check(NameRule().IsMatch(name) && (current is null || current.Name != name || current.Samples.Count == 0), line);
                Check(result.Get(name).Help is null, line);
                result.Get(name).Help = line.Split(' ', 4) is [_, _, _, var help] ? help : "";
            }
            else
            {
                Check(line[0] != '#', line);
                Check(current is not null, line);
                current!.Add(line);
            }
        }
        foreach (var family in result._families.Values)
            family.CheckWhole();
        return result;
    }

    private static void Check(bool rule, string line)
    {
        if (!rule)
            throw new FormatException($"not allowed here: {line}");
    }

    private Family Get(string name)
    {
        if (!_families.TryGetValue(name, out var family))
            _families.Add(name, family = new Family(name));
        return family;
    }

    [GeneratedRegex("^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    private static partial Regex NameRule();

    [GeneratedRegex("^[a-zA-Z_][a-zA-Z0-9_]*$")]
    private static partial Regex LabelRule();

    public sealed record Sample(string Name, IReadOnlyDictionary<string, string> Labels, double Value);

    public sealed class Family(string name)
    {
        private readonly HashSet<string> _seen = new(StringComparer.Ordinal);

        public string Name { get; } = name;

        public string? Type { get; set; }

        public string? Help { get; set; }

        public List<Sample> Samples { get; } = [];

        /// <summary>The sum of all samples with these labels (of a histogram: of its counts).</summary>
        public double Value(params (string Name, string Value)[] labels) => Find(labels).Sum(s => s.Value);

        public IEnumerable<Sample> Find(params (string Name, string Value)[] labels) =>
            Samples.Where(s => (Type != "histogram" || s.Name == Name + "_count") && labels.All(l => s.Labels.GetValueOrDefault(l.Name) == l.Value));

        internal void Add(string line)
        {
            var at = line.IndexOfAny(['{', ' ']);
            Check(at > 0, line);
            var sample = line[..at];
            Check(sample == Name || (Type is "histogram" && sample.StartsWith(Name, StringComparison.Ordinal) && sample[Name.Length..] is "_bucket" or "_sum" or "_count"), line);
            var labels = new Dictionary<string, string>(StringComparer.Ordinal);
            if (line[at] == '{')
                at = ReadLabels(line, at + 1, labels);
            Check(line[at] == ' ', line);
            var rest = line[(at + 1)..].Split(' ');
            Check(rest.Length is 1 or 2, line);
            var value = rest[0] switch
            {
                "+Inf" => double.PositiveInfinity,
                "-Inf" => double.NegativeInfinity,
                "NaN" or "Nan" => double.NaN,
                var number => double.Parse(number, NumberStyles.Float, CultureInfo.InvariantCulture),
            };
            Check(_seen.Add(line[..at]), line + " (twice)");
            Check(Type != "counter" || value >= 0, line);
            Samples.Add(new Sample(sample, labels, value));
        }

        internal void CheckWhole()
        {
            Check(Type is not null, $"{Name} has no TYPE");
            if (Type != "histogram")
                return;
            foreach (var series in Samples.GroupBy(s => string.Join(',', s.Labels.Where(l => l.Key != "le").OrderBy(l => l.Key, StringComparer.Ordinal))))
            {
                var buckets = series.Where(s => s.Name == Name + "_bucket").ToList();
                var count = series.Single(s => s.Name == Name + "_count").Value;
                Check(series.Count(s => s.Name == Name + "_sum") == 1, $"{Name} {series.Key}: one sum");
                Check(buckets.Count > 0 && buckets[^1].Labels["le"] == "+Inf" && buckets[^1].Value == count, $"{Name} {series.Key}: +Inf is the count");
                for (var i = 1; i < buckets.Count; i++)
                    Check(buckets[i].Value >= buckets[i - 1].Value, $"{Name} {series.Key}: buckets are cumulative");
            }
        }

        private static int ReadLabels(string line, int at, Dictionary<string, string> labels)
        {
            while (line[at] != '}')
            {
                var equals = line.IndexOf('=', at);
                var label = line[at..equals];
                Check(LabelRule().IsMatch(label) && line[equals + 1] == '"', line);
                var value = new StringBuilder();
                for (at = equals + 2; line[at] != '"'; at++)
                {
                    if (line[at] != '\\')
                    {
                        value.Append(line[at]);
                        continue;
                    }
                    at++;
                    Check(line[at] is '\\' or '"' or 'n', line);
                    value.Append(line[at] == 'n' ? '\n' : line[at]);
                }
                Check(labels.TryAdd(label, value.ToString()), line);
                at++;
                if (line[at] == ',')
                    at++;
            }
            return at + 1;
        }
    }
}
