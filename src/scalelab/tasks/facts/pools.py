"""The pools that names and values are drawn from.

Every pool is distinct and ASCII, so bytes are characters and bits are exact.

Values are single words, so that a sentence that ends in a value names no other value; occupations
take the article `a`.
"""

FIRST_NAMES = tuple(
    """
Aaron Abel Ada Adam Adele Aiden Aisha Akira Alan Alba Albert Alex Alice Alina Alma Alvin Amal Amani
Amber Amelie Amina Amir Amos Amy Ana Anders Andre Andy Anita Anja Anna Anton Anya April Aria Arjun
Arlo Arne Arthur Asa Asha Astrid Aurora Ava Axel Aya Barry Basil Beata Becca Bella Ben Benoit Bianca
Bjorn Blair Blake Bonnie Boris Brad Brenda Brett Brian Bridie Bruce Bruno Caleb Carla Carlos Carmen
Carol Casey Cecil Celia Chad Chen Chiara Chloe Claire Clara Clive Cody Colin Conor Cora Craig Curtis
Cyrus Daisy Dale Damian Dana Daniel Daphne Dara Darius David Dawn Dean Debra Della Denis Derek Diana
Diego Dina Dirk Dmitri Dora Doris Doug Duncan Dylan Edgar Edith Edwin Eileen Elena Eli Elias Elisa
Ella Ellen Elmer Elsa Emil Emily Emma Enzo Eric Erika Ernest Esme Esther Ethan Eva Evan Ewan Faith
Farah Fatima Felix Fergus Finn Fiona Flora Floyd Frank Freya Fritz Gareth Gavin Gemma George Gerald
Gia Gina Glenn Gloria Grace Graham Greta Guido Gustav Gwen Hana Hank Hans Harold Harry Hassan Hazel
Heidi Helen Henry Hilda Hiro Holly Hugo Ian Ida Igor Ilona Imani Imran Ines Inga Ingrid Ira Irene
Iris Isaac Isla Ivan Ivy Jack Jacob Jade Jamal James Jana Janet Jared Jasmin Jason Jean Jed Jenna
Jeremy Jesse Jill Jin Jo-Ann Joan Joel John Jon Jonas Jorge Josef Joyce Juan Judith Julia Julius
June Kai Kamal Kara Karen Karl Kate Katya Kay Keira Keith Kelly Kenji Kerry Kevin Kim Kira Kirk
Klara Klaus Koji Lana Lara Lars Laura Leah Lee Leila Lena Leo Leon Leroy Leslie Levi Liam Lidia Lila
Lily Linda Lisa Liv Logan Lola Lorna Louis Lucas Lucia Luigi Luis Luke Luna Lydia Lyle Mabel Maeve
Magda Maja Malik Marc Marco Maria Marina Mario Mark Marta Martin Mary Mason Maud Maura Max Maya
Megan Mei Mia Micah Mila Milo Mimi Mira Miriam Mitch Moira Mona Morgan Moses Myra Nadia Nancy Naomi
Nasir Neil Nell Nico Nigel Nikita Nina Noah Noel Nora Norman Oleg Olga Olive Oliver Omar Oona Opal
Oscar Oskar Otis Otto Owen Pablo Paige Pamela Parker Pascal Paul Paula Pearl Pedro Penny Perry Peter
Petra Pierre Pilar Piper Priya Quinn Rachel Rafael Ralph Ramona Randy Raoul Rashid Raul Ravi Rayan
Rebeca Reese Rene Rhoda Rhys Rita Robert Robin Rocco Rodney Roger Rohan Roland Rolf Roman Ronan Rosa
Rose Rosie Ross Rowan Roy Ruben Ruby Rufus Rupert Russ Ruth Ryan Sally Samir Samuel Sandra Sara
Sasha Saul Scott Sean Selma Serena Seth Shane Sheila Sibyl Sid Silas Silvia Simon Sofia Sonia Stan
Stella Steven Stuart Sunil Susan Sven Tamara Tania Tara Tariq Tasha Ted Terry Tessa Thea Theo Tilda
Tim Tina Toby Todd Tomas Tony Tracy Trevor Uma Ursula Vera Victor Vikram Viola Vivian Wade Walter
Wanda Warren Wendy Wilma Xavier Yara Yusuf Yves Zain Zara Zelda Zoe
""".split()
)

FAMILY_NAMES = tuple(
    """
Abbott Abe Adams Adler Aguilar Ahmed Akhtar Al-Amin Al-Sadi Alden Ali Allen Alvarez Amari Ames
Archer Arnold Ashby Atkins Austin Ayala Bach Bailey Baines Baird Banks Barber Barnes Baron Barr
Barton Bates Bauer Beck Becker Bell Ben-Ami Benson Berg Bishop Black Blair Blake Bloom Bolton Bond
Booth Bosch Bowen Boyd Boyle Bradley Brandt Briggs Brooks Brown Bryant Burke Burns Burton Butler
Byrne Cain Cairns Cameron Carr Carson Carter Castro Chan Chang Chavez Choi Chopra Chu Clark Clarke
Cohen Cole Collins Conway Cooke Cooper Corbin Costa Cox Crane Cross Cruz Cullen Cummins Curie Curry
D'Amato D'Arcy D'Souza Dalton Daly Danso Darby Davies Davila Dawson Day Decker Delgado Demir Deng
Dewey Diaz Dietz Dixon Dolan Donovan Doyle Drake Duarte Duffy Dumas Duncan Dunn Durand Dyer Eaton
Ebner Eccles Egan Eliot Ellis Elwood Emery Endo Engel Erdem Espino Evans Everett Falk Farley Faulk
Fay Felton Ferrari Fiala Field Fischer Fisher Flynn Foley Forbes Ford Foster Fox Franco Fraser
French Frost Fry Fujita Gale Gallo Gamble Garcia Gates Geiger Gibbs Gibson Giles Gomez Gordon Gould
Grant Gray Greco Greene Griffin Gross Gruber Gupta Guzman Haas Hale Hall Hansen Hardy Harper Hart
Hayes Heath Heller Herrera Hess Hicks Higgins Hill Hoang Hobbs Hodge Hoffman Holmes Holt Hooper Horn
Horvath Howard Howell Hsu Huang Hudson Huff Hughes Hunt Hurley Hussain Hyde Ibarra Idris Ingram
Irving Ito Jansen Jarvis Jensen Jha Johnson Jones Jordan Joshi Juarez Judd Kane Kang Kapoor Kaur
Keane Keller Kemp Kent Kerr Khan Kim King Klein Knight Koch Kovac Kramer Krause Kumar Kuntz Lamb
Lane Lang Larsen Lau Lawson Leclerc Lehman Lennon Levy Lewis Lim Lin Lindsay Lloyd Logan Lopez Lowe
Lucero Ludwig Lund Lynch Lyons Mack Madden Maier Malone Mann Marino Marsh Mason Mathis Maxwell Mayer
McCann McCoy McGee Mead Medina Mehta Mendez Meyer Miles Miller Mills Molina Monroe Moore Moran
Moreno Moretti Morin Morris Moss Muller Munro Murphy Myers Nash Navarro Neal Nelson Neumann Newton
Ng Nguyen Nichols Nolan Norris Novak Nunez O'Brien O'Dea O'Hara O'Keefe O'Neill O'Shea Obi Ochoa
Odell Ogden Okafor Olsen Ono Orr Ortega Ortiz Osborne Otieno Owens Padilla Paine Palmer Park Parker
Parrish Patel Payne Pearce Pena Perez Perkins Peters Petrov Pham Phelps Pierce Platt Poole Pope
Porter Potter Powell Pratt Price Quigley Quinn Ramirez Ramos Ramsey Rao Reed Reese Reid Reilly Reyes
Rhodes Ricci Rice Richter Riley Rios Ritter Rivera Robles Rogers Romano Romero Rossi Roth Rowe
Russell Ryan Saito Salas Salazar Sanchez Sanders Santos Sato Saunder Savage Schmidt Schultz Scott
Serrano Sharma Shaw Shea Silva Simmons Singh Sloan Smith Snow Soto Spence Stark Steele Stein Stone
Strand Suarez Suzuki Swan Takeda Tan Tanaka Taylor Thorne Torres Tran Tucker Turner Tyler Ueda Unger
Valdez Vance Vargas Vaughn Vega Vogel Wade Wagner Walker Wallace Walsh Walton Wang Ward Warner
Watson Watts Weaver Webb Weber Wells West Wheeler White Wilson Winter Wolfe Wong Wood Wright Wu
Yamada Yang Yates Young Yu Zamora Zapata Zhang Zhao Zimmer
""".split()
)

BIRTH_DATES = tuple(
    f"{day}/{month}/{year}"
    for year in range(1950, 2001)
    for month in range(1, 13)
    for day in range(1, 29)
)

COUNTRIES = ("Brazil", "Canada", "Egypt", "France", "Japan", "Kenya", "Norway")

CITIES = tuple(
    """
Aachen Aarhus Aberdeen Abuja Accra Adelaide Agra Aleppo Algiers Almaty Amman Amsterdam Ankara
Antwerp Arequipa Asmara Astana Asuncion Athens Atlanta Auckland Austin Avignon Baghdad Baku Bamako
Bangalore Bangkok Barcelona Basel Beijing Beirut Belfast Belgrade Bergen Berlin Bern Bilbao Bogota
Bologna Bordeaux Boston Brasilia Bremen Brisbane Bristol Bruges Brussels Bucharest Budapest Buffalo
Busan Cairo Calais Calgary Canberra Caracas Cardiff Cartagena Chennai Chicago Cologne Colombo
Conakry Cordoba Cork Cusco Dakar Dallas Damascus Delhi Denver Detroit Dhaka Dijon Doha Dresden Dubai
Dublin Durban Edinburgh Florence Frankfurt Freetown Fukuoka Galway Geneva Genoa Ghent Glasgow
Granada Graz Grenoble Haifa Halifax Hamburg Hanoi Hanover Harare Havana Helsinki Houston Hobart
Innsbruck Istanbul Izmir Jaipur Jakarta Jeddah Kabul Kampala Karachi Kazan Khartoum Kigali Kingston
Kobe Kolkata Krakow Kyiv Kyoto Lagos Lahore Leeds Leipzig Liege Lille Lima Lisbon Liverpool London
Luanda Lusaka Lyon Madrid Malaga Malmo Managua Manila Maputo Marseille Mecca Melbourne Memphis Miami
Milan Minsk Mombasa Montreal Moscow Mumbai Munich Muscat Nagoya Nairobi Nantes Naples Nice Nicosia
Odessa Osaka Oslo Ottawa Oxford Palermo Paris Perth Phoenix Pisa Porto Portland Prague Pretoria
Quebec Quito Rabat Riga Rome Rosario Rotterdam Salvador Santiago Sapporo Seattle Seoul Seville
Shanghai Sofia Stockholm Sydney Tallinn Tbilisi Tehran Tirana Tokyo Toronto Toulouse Tripoli Tunis
Turin Utrecht Valencia Vancouver Venice Verona Vienna Vilnius Warsaw Windhoek Yerevan York Zagreb
Zurich
""".split()
)

OCCUPATIONS = tuple(
    """
baker banker barber barista biologist botanist brewer broker builder butcher carpenter cartoonist
cashier chef chemist cleaner clerk coach cobbler comedian composer conductor cook courier curator
dancer dentist designer detective diver doctor driver drummer farmer firefighter fisher florist
forester gardener geologist glazier goldsmith grocer guide hairdresser historian jeweller journalist
judge lawyer lecturer librarian locksmith magician mason mechanic midwife miller miner model
musician nanny notary novelist nurse painter pharmacist physicist pianist pilot plumber poet porter
postman potter printer producer professor ranger reporter roofer sailor sculptor shepherd singer
soldier surgeon surveyor tailor teacher tiler translator tutor violinist waiter watchmaker weaver
welder writer zoologist
""".split()
)

ATTRIBUTES = {
    "birth_date": BIRTH_DATES,
    "birth_place": COUNTRIES,
    "current_address": CITIES,
    "occupation": OCCUPATIONS,
}
"""The four facts of a person: the database's column and the pool of its values.

Fact = 4 * person + attribute, in this order.
"""
